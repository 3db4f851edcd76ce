"""Access control: log-ins, roles, quotas, hosts, audit log; also the tables that workers share."""
