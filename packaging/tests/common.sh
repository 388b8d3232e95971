# Words that every test of a package uses. Sourced.

step() {
    printf '\n--- %s\n' "$1"
}

# check WHAT COMMAND...: says whether the command succeeded; what it wrote is told only if it did not.
check() {
    local what=$1 told
    shift
    if told=$("$@" 2>&1); then
        printf 'ok      %s\n' "$what"
    else
        printf 'NOT OK  %s\n' "$what"
        [ -z "$told" ] || printf '%s\n' "$told" | sed 's/^/        /'
        FAILED+=("$what")
    fi
}

equal() {
    [ "$1" = "$2" ] || {
        printf 'found:  %s\nwanted: %s\n' "$1" "$2"
        return 1
    }
}

not() {
    ! "$@"
}

# silent COMMAND...: it succeeds and has nothing to say.
silent() {
    local told
    told=$("$@" 2>&1) && equal "$told" ""
}

# without_complaint COMMAND...: it succeeds, and tells at most of the user that it makes.
without_complaint() {
    local told
    told=$("$@" 2>&1) && equal "$(grep -v '^Creating ' <<<"$told")" ""
}

# The end of a part: its exit code says whether all was well.
finish() {
    ((${#FAILED[@]} == 0))
}
