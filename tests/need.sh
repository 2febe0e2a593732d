# SPDX-License-Identifier: MIT
# shellcheck shell=sh
# Sourced by ./run and ./check.
#
# need PACKAGE...: make sure that Debian packages are installed. What is there
# already is not touched, so this works offline once everything is in place.
need()
{
	if ! command -v dpkg-query >/dev/null 2>&1; then
		echo "   this is not Debian: taking it that these are installed: $*"
		return 0
	fi
	missing=
	for package in "$@"; do
		case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
		*' installed') ;;
		*) missing="$missing $package" ;;
		esac
	done
	if [ -z "$missing" ]; then
		echo "   all there"
		return 0
	fi
	as_root=
	if [ "$(id -u)" -ne 0 ]; then
		if ! command -v sudo >/dev/null 2>&1; then
			echo "   missing:$missing" >&2
			echo "   and I am neither root nor have sudo. As root: apt-get install$missing" >&2
			return 1
		fi
		as_root=sudo
	fi
	echo "   installing:$missing"
	log=$(mktemp) || return 1
	# shellcheck disable=SC2086
	if { $as_root apt-get update -q && $as_root env \
	    DEBIAN_FRONTEND=noninteractive apt-get install -q -y \
	    --no-install-recommends $missing; } >"$log" 2>&1; then
		rm -f "$log"
		return 0
	fi
	tail -n 15 "$log" >&2
	echo "   could not install:$missing (the whole output is in $log)" >&2
	return 1
}

# need_build DIR OPTION...: a meson build directory configured with the options,
# made once, and made anew when they change.
need_build()
{
	build_dir=$1
	shift
	if [ -f "$build_dir/build.ninja" ] &&
		[ "$(cat "$build_dir/options.stamp" 2>/dev/null)" = "$*" ]; then
		return 0
	fi
	rm -rf "$build_dir"
	meson setup "$build_dir" "$@" && echo "$*" >"$build_dir/options.stamp"
}
