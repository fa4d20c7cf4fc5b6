"""Certificates, attacks and privacy audits of a trained policy."""
