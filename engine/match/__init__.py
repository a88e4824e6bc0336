"""Matches between engines: schedule, players, records, statistics."""
