"""Commands about scans, and what the other commands do when they are given scans."""
