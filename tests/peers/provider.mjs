// An OpenID Connect provider on loopback, all of npm's `oidc-provider`: tokens of seconds, and
// refresh tokens that may be used once.  `node provider.mjs PORT ACCESS_SECONDS REFRESH_SECONDS`
import { Provider } from 'oidc-provider'

const [port, access, refresh] = process.argv.slice(2).map(Number)
const device = 'urn:ietf:params:oauth:grant-type:device_code'

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: 'public', token_endpoint_auth_method: 'none', application_type: 'native',
      grant_types: [device, 'refresh_token'], redirect_uris: [], response_types: [],
    },
  ],
  features: {
    deviceFlow: { enabled: true },
    userinfo: { enabled: true },
    devInteractions: { enabled: true },
  },
  scopes: ['openid', 'email', 'offline_access'],
  claims: { openid: ['sub'], email: ['email'] },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, email: `${id}@localhost` }) }),
  rotateRefreshToken: true,
  clockTolerance: 0,
  ttl: { AccessToken: access, RefreshToken: refresh },
})
provider.on('server_error', (_, error) => console.error(error))
provider.listen(port, '127.0.0.1', () => console.log(`ready ${port}`))
