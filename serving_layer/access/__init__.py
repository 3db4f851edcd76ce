"""Who may ask: log-ins, roles, quotas, hosts, and the audit log."""
