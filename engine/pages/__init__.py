"""Pages for people: HTML of one file, to be opened in a browser."""
