"""The checks: each looks at the facts for one thing and yields a finding for everything that is not well."""
