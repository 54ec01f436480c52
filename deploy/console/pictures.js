// The pictures of docs/console.md: node pictures.js DIRECTORY, within world.js.
import { mkdir, readFile, writeFile, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import UPNG from 'upng-js';
import { close, signedIn, Window } from './browser.js';
import { screens } from './screens.js';
import { told } from './seed.js';

const { url, keys } = told();
const to = process.argv[2];
const colours = 64;

// small writes a picture with a palette.
async function small(from, name) {
  const picture = UPNG.decode(await readFile(from));
  const data = UPNG.encode([UPNG.toRGBA8(picture)[0]], picture.width, picture.height, colours);
  await writeFile(path.join(to, name + '.png'), Buffer.from(data));
}

await mkdir(to, { recursive: true });
const w = await Window.open({ url, cookies: await signedIn(url, { key: keys.operator }) });
for (const screen of screens) {
  const look = screen.looks.find((l) => l.picture) || screen.looks[0];
  await w.page.goto('about:blank');
  await w.page.goto(url + '/' + look.at);
  await w.sees(...look.sees.filter((t) => !/onerror|<img/.test(t)));
  await w.page.waitForTimeout(1000); // charts and lists that come a moment later
  await small(await w.picture('doc-' + screen.id), screen.id);
}
await w.dark(true);
await w.go('#/overview');
await w.sees('Overview');
await w.page.waitForTimeout(1000);
await small(await w.picture('doc-overview-dark'), 'overview-dark');
await w.close();
await close();
let bytes = 0;
for (const name of await readdir(to)) bytes += (await stat(path.join(to, name))).size;
console.log(`${(await readdir(to)).length} pictures, ${Math.round(bytes / 1000)} kB`);
if (bytes > 1_500_000) throw new Error('the pictures are more than 1.5 MB together');
