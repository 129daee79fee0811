"""Attempts to break the programs: generators of cases, what each one ended with, and the table of all."""
