// A second server that the tests of the SQS broker talk to: local-aws-sqs, in memory, on
// loopback. It answers batches entry by entry and has the errors of SQS; its long poll
// waits for as many messages as were asked for, so those who use it ask for one.
const { createSqsServer } = require("local-aws-sqs");

const port = Number(process.argv[2]);
createSqsServer({ port, hostname: "127.0.0.1" }).then(() => console.log("serving", port));
