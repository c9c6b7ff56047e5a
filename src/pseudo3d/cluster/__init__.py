"""One network over millions of videos, on the processes of a machine or on a Ray cluster."""
