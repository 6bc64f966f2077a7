"""The analysis: documents that are in force and do what nobody wants. Each finding is a function of a Subject."""
