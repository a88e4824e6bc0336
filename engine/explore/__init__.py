"""The memory in a browser: `dejavu explore` serves one page for any position, to this computer alone."""
