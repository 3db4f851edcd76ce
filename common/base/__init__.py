"""What everything may import: coded errors, private files, paths, lines, fail points."""
