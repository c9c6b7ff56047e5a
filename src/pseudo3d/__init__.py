"""Recognition in video clips and volumes with pseudo-3-D residual networks."""
