#!/usr/bin/env bash
# tpifu/report/web/viewer.js and three.js -> tpifu/report/web/viewer.min.js. Needs Node.js; only to change the viewer.
set -euo pipefail
cd "$(dirname "$0")"
npm ci --no-audit --no-fund
source_hash=$(sha256sum ../../tpifu/report/web/viewer.js | cut -d' ' -f1)
NODE_PATH=$PWD/node_modules node_modules/.bin/esbuild ../../tpifu/report/web/viewer.js --bundle --minify \
    --format=iife --target=es2022 --legal-comments=inline --charset=utf8 \
    --banner:js="/* Built from viewer.js, SHA-256 $source_hash, by tools/viewer/build.sh; with three.js (MIT) */" \
    --outfile=../../tpifu/report/web/viewer.min.js
