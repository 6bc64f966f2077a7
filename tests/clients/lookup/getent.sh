#!/bin/sh
# The C library's resolver: getent.sh NAME... prints each address of each name, as NAME ADDRESS.
for name; do
    getent ahosts "$name" | while read -r address kind _; do
        [ "$kind" != STREAM ] || echo "$name $address"
    done
done
