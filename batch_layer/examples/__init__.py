"""The kit of batch families with an input schema: examples read on the driver or on executors."""
