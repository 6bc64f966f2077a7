"""One frozen value per API object; field names are the API's in snake_case."""
