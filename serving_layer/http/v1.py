"""``/v1``: the JSON resources beside Oryx's paths.

A family's module offers them as a blueprint, ``resources(settings)``, with paths below
``/v1``.  They ask the same query functions as the routes in Oryx's form, take and give JSON
only, read requests by pydantic models, and answer every error with problem details (RFC 9457).
"""

#: Where the resources lie.
PREFIX = "/v1"
