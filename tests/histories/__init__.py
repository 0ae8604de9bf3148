"""Records of scripts as they ran once; ``python -m tests.histories`` writes those that are missing."""
