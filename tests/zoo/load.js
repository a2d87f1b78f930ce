// Workers, an HTTP server that is asked by its own process, the thread pool (files, zlib, crypto), native buffers and
// young and old garbage; writes what was lost, which must be nothing.
const { Worker, isMainThread, workerData, parentPort } = require('worker_threads');
const crypto = require('crypto'), fs = require('fs'), http = require('http'), os = require('os'), zlib = require('zlib');
const { promisify } = require('util');

const end = Date.now() + 1000 * Number(isMainThread ? process.argv[2] : workerData.seconds);

function churn(round) {
  const map = new Map(), weak = new WeakMap();
  for (let i = 0; i < 20000; ++i) {
    const key = { i, text: 'x'.repeat(i % 50), round };
    map.set(i, key);
    weak.set(key, Buffer.alloc(i % 3000, i % 256));
  }
  let wrong = 0;
  for (const [i, key] of map) if (weak.get(key).length !== i % 3000 || key.text.length !== i % 50) ++wrong;
  return wrong;
}

async function work() {
  let wrong = 0;
  for (let round = 0; Date.now() < end; ++round) {
    wrong += churn(round);
    const data = crypto.createHash('sha256').update(String(round)).digest('hex').repeat(2000);
    const packed = await promisify(zlib.gzip)(data);
    if ((await promisify(zlib.gunzip)(packed)).toString() !== data) ++wrong;
    const key = await promisify(crypto.pbkdf2)(data.slice(0, 64), 'salt', 5000, 32, 'sha512');
    if (!key.equals(crypto.pbkdf2Sync(data.slice(0, 64), 'salt', 5000, 32, 'sha512'))) ++wrong;
    const file = `${os.tmpdir()}/zoo-node-${process.pid}-${isMainThread ? 0 : workerData.number}`;
    await fs.promises.writeFile(file, data);
    if ((await fs.promises.readFile(file, 'utf8')) !== data) ++wrong;
    await fs.promises.unlink(file);
  }
  return wrong;
}

function serve() {
  return new Promise((resolve) => {
    const server = http.createServer((request, response) => response.end(request.url.repeat(100)));
    server.listen(0, '127.0.0.1', async () => {
      let wrong = 0;
      const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
      const ask = (path) => new Promise((done) => http.get({ port: server.address().port, path, agent }, (response) => {
        let text = '';
        response.on('data', (part) => { text += part; });
        response.on('end', () => { if (text !== path.repeat(100)) ++wrong; done(); });
      }).on('error', () => { ++wrong; done(); }));
      for (let i = 0; Date.now() < end; ++i) await Promise.all(Array.from({ length: 16 }, (_, j) => ask(`/${i}/${j}`)));
      agent.destroy();
      server.close(() => resolve(wrong));
    });
  });
}

async function main() {
  const workers = Array.from({ length: 2 }, (_, number) => new Promise((resolve, reject) => {
    const worker = new Worker(__filename, { workerData: { seconds: process.argv[2], number: number + 1 } });
    worker.on('message', resolve).on('error', reject);
  }));
  const lost = await Promise.all([work(), serve(), ...workers]);
  console.log('lost', lost.join(' '));
}

if (isMainThread) main();
else work().then((wrong) => parentPort.postMessage(wrong));
