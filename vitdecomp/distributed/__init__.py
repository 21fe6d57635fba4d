"""Several processes at once: process groups and Ray clusters."""
