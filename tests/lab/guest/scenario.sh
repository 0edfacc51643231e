# Runs one scenario file: of two guests' scenarios the function named like this guest's role.
set -Eeuo pipefail
. /share/guest/lib.sh
# A command that failed where the scenario did not look is a failure with its line.
trap 'reason "${BASH_SOURCE[0]##*/} line $LINENO: $BASH_COMMAND"' ERR
. "$1"
if grep -q '^# guests: 2' "$1"; then "$ROLE"; fi
