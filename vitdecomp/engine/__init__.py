"""From linear paths and images to numbers: push, pull, and how leaves are split into components."""
