// An authorization server by node-oidc-provider. Arguments: address and port.
import Provider from 'oidc-provider';

const [address, port] = process.argv.slice(2);
const scopes = ['dpv:RequestedServiceProvision#qod', 'other'];
const provider = new Provider(`http://${address}:${port}`, {
  clients: [{
    client_id: 'partner',
    client_secret: 'partner-secret',
    grant_types: ['client_credentials'],
    redirect_uris: [],
    response_types: [],
  }],
  scopes,
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({
        scope: scopes.join(' '),
        audience: 'urn:qod',
        accessTokenFormat: 'jwt',
      }),
    },
  },
});
provider.listen(Number(port), address);
