"""UCI: what a GUI says and hears, and the state of a session."""
