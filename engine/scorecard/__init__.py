"""What the shipped net and memory can do, measured by one command and told in one file."""
