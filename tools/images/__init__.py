"""Container images of weft, made without a container engine. ``./run images`` builds them."""
