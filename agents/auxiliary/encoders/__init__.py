"""Modules between observation and policy or value."""
