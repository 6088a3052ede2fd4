"""Mix'n'Match: which mixes of trained widths and layers give the most quality for their cost."""
