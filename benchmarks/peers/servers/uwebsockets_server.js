// uwebsockets_server.js PORT FEED_PORT: subscribe by sending a topic, publish with lines "topic payload" over TCP.
'use strict'

const net = require('node:net')
const { App, DISABLED } = require('uwebsockets')

const [port, feedPort] = process.argv.slice(2).map(Number)
const app = App()

app.ws('/*', {
  compression: DISABLED,
  idleTimeout: 0,
  sendPingsAutomatically: false,
  maxPayloadLength: 128 * 1024,
  maxBackpressure: 1024 * 1024,
  message(socket, topic) {
    socket.subscribe(Buffer.from(topic).toString())
    socket.send('ready')
  },
})

app.listen('127.0.0.1', port, (listening) => {
  if (!listening) process.exit(1)
})

net
  .createServer((publisher) => {
    let begun = ''
    publisher.setEncoding('latin1')
    publisher.on('data', (data) => {
      const lines = (begun + data).split('\n')
      begun = lines.pop()
      for (const line of lines) {
        const space = line.indexOf(' ')
        app.publish(line.slice(0, space), line.slice(space + 1))
      }
    })
    publisher.on('error', () => {})
  })
  .listen(feedPort, '127.0.0.1')
