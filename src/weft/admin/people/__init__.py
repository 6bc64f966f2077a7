"""People and programs: who may call the admin API, how they prove who they are, and what each may do."""
