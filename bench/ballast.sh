#!/bin/sh
# ballast.sh LIBRARY PREFIX OBJECT: all of a static library, with its debug information, as one object whose global
# names begin with PREFIX. Linked several times into a program, under several prefixes, it makes that program big.
# Nothing of it can run: its static constructors are left out.
set -eu
: "${LD:=ld}" "${NM:=nm}" "${OBJCOPY:=objcopy}"
trap 'rm -f "$3.names"' EXIT
# Dissolves the groups of inline functions, or the linker would keep one of all copies.
"$LD" -r --force-group-allocation --whole-archive "$1" -o "$3"
"$NM" --defined-only -g "$3" | awk -v prefix="$2" 'NF >= 3 { print $3, prefix $3 }' | sort -u >"$3.names"
"$OBJCOPY" --redefine-syms="$3.names" --remove-section='.init_array*' --remove-section='.rela.init_array*' "$3"
