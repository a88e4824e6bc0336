"""Games with a teacher's evaluations: the parts of annotate.py, some of which explore.py uses, too."""
