// Texts that do something in a browser that takes them for HTML: they set window.__xss to
// where they came from, or open a dialog. As text they are recognized by their mark. For
// the pictures of the documentation, with KLAMM_CONSOLE_PLAIN, they are words.
const plain = process.env.KLAMM_CONSOLE_PLAIN;

export const markup = (where) => (plain ? where : `<img src=x onerror="window.__xss='${where}'">`);
export const script = (where) => (plain ? where : `"><script>window.__xss='${where}';alert(1)</script><b onmouseover=alert(2)>${where}</b>`);
