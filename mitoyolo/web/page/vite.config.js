// Built into the package: `mitoyolo serve` hands out ../static, so that users need no Node.
export default {
  base: "/",
  build: {
    outDir: "../static",
    emptyOutDir: true,
    target: "es2022",
    // A strict Content-Security-Policy allows neither inline scripts nor data: URLs.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 800,
    license: { fileName: "licenses.md" },
  },
};
