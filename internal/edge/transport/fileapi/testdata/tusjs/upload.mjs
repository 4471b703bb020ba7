// Uploads a file with tus-js-client, as a browser page would, and breaks off in the
// middle to resume with a fresh client. Arguments: server, file, session.
import { createReadStream, statSync } from "node:fs";
import { Upload } from "tus-js-client";

const [server, path, session] = process.argv.slice(2);
const size = statSync(path).size;

function upload(options) {
  return new Promise((resolve, reject) => {
    const u = new Upload(createReadStream(path), {
      endpoint: `${server}/v1/files/`,
      headers: { Authorization: "Bearer alice" },
      metadata: { session, filename: "été.bin", filetype: "application/zip", id: "from-js" },
      uploadSize: size,
      chunkSize: 64 * 1024,
      retryDelays: [0, 100],
      onError: reject,
      onSuccess: () => resolve(u.url),
      onChunkComplete: (_, accepted) => {
        if (options.until && accepted >= options.until) {
          u.abort().then(() => resolve(u.url), reject);
        }
      },
      ...options,
    });
    u.start();
  });
}

const url = await upload({ until: size / 2 });
const resumed = await upload({ uploadUrl: url });
console.log(new URL(resumed).pathname);
// A page that has forgotten the address repeats the request, and gets the same file.
console.log(new URL(await upload({})).pathname);
console.log(new URL(await upload({ uploadDataDuringCreation: true })).pathname);

const refused = await upload({ metadata: { session: "not-mine" } }).then(
  () => "accepted",
  (err) => JSON.parse(err.originalResponse.getBody()).code,
);
console.log(refused);
