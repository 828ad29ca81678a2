import js from "@eslint/js";

const browser = ["document", "window", "fetch", "setTimeout", "clearTimeout", "setInterval",
  "URLSearchParams", "Option", "HTMLInputElement"];

export default [
  js.configs.recommended,
  {
    languageOptions: {
      sourceType: "script",
      globals: Object.fromEntries(browser.map((name) => [name, "readonly"])),
    },
    rules: { eqeqeq: "error", "no-var": "error", "prefer-const": "error", "no-shadow": "error" },
  },
];
