# Source it.

wait_for() { # seconds, or a file
    case $1 in
    /*) until [[ -e $1 ]]; do sleep 0.05; done ;;
    *) sleep "$1" ;;
    esac
}
