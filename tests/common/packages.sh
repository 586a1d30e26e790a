# Sourced by tests that need packages from npm: those of $here/package.json (and its lock file) in $work/node_modules,
# installed once. Ends the test with 77 (skipped) when the registry cannot be reached in time.
install_s=240 # at a machine that is busy; a cached install takes two
# The mark is made last, so an install that was cut short is done again.
if ! cat "$here"/package*.json | cmp -s - "$work/installed"; then
    rm -rf "$work/installed" "$work/node_modules" "$work/package-lock.json"
    cp "$here"/package*.json "$work"
    if [ -f "$work/package-lock.json" ]; then install=ci; else install=install; fi
    timeout -k 10 $install_s npm $install --prefix "$work" --prefer-offline --no-audit --no-fund --loglevel error \
        --fetch-retries 1 --fetch-timeout 20000 >"$work/npm.log" 2>&1
    status=$?
    if [ $status -ne 0 ]; then
        cat "$work/npm.log"
        if [ $status -eq 124 ] || [ $status -eq 137 ]; then
            echo "skipped: npm $install did not end within $install_s s"
            exit 77
        fi
        if grep -qE 'ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ECONNREFUSED|ECONNRESET|ENETUNREACH|EHOSTUNREACH|EIDLETIMEOUT' "$work/npm.log"; then
            echo "skipped: the package registry cannot be reached"
            exit 77
        fi
        exit 1
    fi
    cat "$here"/package*.json >"$work/installed"
fi
