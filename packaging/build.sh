#!/usr/bin/env bash
# Makes the packages, from the source that is here, into target/package/.
#
#   packaging/build.sh            a .deb for this distribution and machine
#   packaging/build.sh --static   a .deb of a program that needs no library, and a .tar.gz of it, as cargo-binstall finds it
#   packaging/build.sh --built PROGRAM
#                                 a .deb with a program that is built already, as it is: for tests
#
# Needs cargo, a C compiler and dpkg-dev; for --static musl-tools and rustup target add x86_64-unknown-linux-musl. The .deb is
# made by dpkg-deb itself: it takes a second, and nothing has to be built first that builds packages.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
fail() {
  printf 'packaging/build.sh: %s\n' "$*" >&2
  exit 1
}

package=$PWD/target/package
program=
target=
case ${1:-} in
  '') ;;
  --static) target=$(uname -m)-unknown-linux-musl ;;
  --built) program=$(realpath "${2:?--built needs the path of a program}") ;;
  *) fail "unknown option $1" ;;
esac
command -v dpkg-shlibdeps >/dev/null || fail 'dpkg-shlibdeps is missing: apt install dpkg-dev'
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
architecture=$(dpkg --print-architecture)

# build: the release, which says what it was built from.
build() {
  local of
  of=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
  [[ -z $(git status --porcelain 2>/dev/null) ]] || of+=' and changes'
  [[ -z $target ]] || export CC_x86_64_unknown_linux_musl=musl-gcc
  REDKEEP_COMMIT=$of cargo build --release --locked --bin redkeep ${target:+--target "$target"}
  program=${CARGO_TARGET_DIR:-target}/${target:+$target/}release/redkeep
}

# tree: what goes into the .deb, below $package/tree.
tree() {
  local tree=$package/tree doc=$package/tree/usr/share/doc/redkeep shell place
  install -D -m 755 "$program" "$tree/usr/bin/redkeep"
  [[ ${1:-} == as-it-is ]] || strip "$tree/usr/bin/redkeep"
  "$tree/usr/bin/redkeep" man --quiet --out-dir "$tree/usr/share/man"
  for shell in bash:bash-completion/completions/redkeep zsh:zsh/vendor-completions/_redkeep \
    fish:fish/vendor_completions.d/redkeep.fish; do
    place=$tree/usr/share/${shell#*:}
    mkdir -p "${place%/*}"
    "$tree/usr/bin/redkeep" completions "${shell%%:*}" >"$place"
  done
  install -D -m 644 -t "$tree/usr/lib/systemd/system" packaging/redkeep@.service packaging/redkeep@.timer
  install -D -m 644 -t "$doc" README.md
  install -m 644 LICENSE "$doc/copyright"
  gzip -9n <CHANGELOG.md >"$doc/changelog.gz"
  mkdir "$doc/examples"
  "$tree/usr/bin/redkeep" config example >"$doc/examples/redkeep.toml"
  find "$tree/usr/share/man" -type f -exec gzip -9n {} +
  chmod -R u=rwX,go=rX "$tree"
}

# control: what the .deb says of itself. A program without libraries depends on nothing.
control() {
  local depends='' scratch=$package/debian
  mkdir -p "$scratch/debian" "$package/tree/DEBIAN"
  printf 'Source: redkeep\n' >"$scratch/debian/control"
  [[ -n $target ]] ||
    depends=$(cd "$scratch" && dpkg-shlibdeps -O "$package/tree/usr/bin/redkeep" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
  cat >"$package/tree/DEBIAN/control" <<END
Package: redkeep
Version: $version
Architecture: $architecture
Maintainer: The redkeep authors <redkeep@localhost>
Section: admin
Priority: optional
Installed-Size: $(du -sk "$package/tree/usr" | cut -f1)
${depends:+Depends: $depends
}Suggests: redis-server | valkey-server, cron | systemd
Description: incremental, deduplicated, encrypted backups of Redis and Valkey
 redkeep keeps snapshots of the data of Redis and Valkey servers on a disk, in
 S3 or in OpenStack Swift. It captures a server that goes on serving, stores
 what changed, restores any snapshot, or any second that an AOF covers, into a
 server, and asks that what it holds.
END
}

[[ -n $program ]] || build
rm -rf "$package"
mkdir -p "$package"
tree "$([[ ${1:-} != --built ]] || echo as-it-is)"
control
# What is thrown away after a test need not be small.
compression=(-Zxz)
[[ ${1:-} != --built ]] || compression=(-Zgzip -z1)
dpkg-deb --root-owner-group "${compression[@]}" --build "$package/tree" "$package/redkeep_${version}_$architecture.deb" >/dev/null
if [[ -n $target ]]; then
  name=redkeep-$version-$target
  mkdir "$package/$name"
  cp -r "$package"/tree/usr/share/{man,bash-completion,zsh,fish} "$package/tree/usr/bin/redkeep" "$package/$name/"
  cp README.md CHANGELOG.md LICENSE src/cli/configuration/example.toml packaging/redkeep@.* "$package/$name/"
  tar -C "$package" -czf "$package/$name.tar.gz" "$name"
  rm -r "${package:?}/$name"
fi
rm -r "$package/tree" "$package/debian"
ls -l "$package"
