"""One file for each step of the demo; the table of them is `vitdecomp.demo.story`."""
