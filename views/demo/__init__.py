"""The demo: a shop on real local servers, its views kept by a real daemon, and a comparison at the end."""
