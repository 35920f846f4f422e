// The page that a browser made of the document has each operation that it says it shows, and each schema.
import { readFileSync } from 'node:fs';

const page = readFileSync('page.html', 'utf8');
const api = JSON.parse(readFileSync('openapi.json', 'utf8'));
const shown = ['get', 'post', 'put', 'patch', 'delete'];
const operations = Object.values(api.paths).flatMap((item) => shown.filter((method) => item[method]).map((method) => item[method].operationId));
const schemas = Object.keys(api.components.schemas).map((name) => `schema.${name}`);
const missing = [...operations, ...schemas].filter((id) => !page.includes(`<details id="${id}">`));
const objects = page.split('</script>')[1].match(/.{0,80}\[object .{0,40}/);
if (missing.length || objects || operations.length < 30) {
  console.error(`not shown: ${missing.join(', ')}; shown as an object: ${objects}`);
  process.exit(1);
}
console.log(`     ${operations.length} operations, ${schemas.length} schemas`);
