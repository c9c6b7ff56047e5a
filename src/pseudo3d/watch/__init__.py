"""Watch cameras and streams for days: newest frame first, events out, memory that stays flat."""
