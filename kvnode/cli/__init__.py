"""The command ``kvnode``: what people and scripts type; no logic of its own."""
