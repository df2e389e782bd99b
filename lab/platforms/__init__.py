"""The platforms that the lab can install: their charts, and what stands beside them."""
