"use strict";

SwaggerUIBundle({
  dom_id: "#swagger-ui",
  url: `${document.body.dataset.root}/openapi.json`,
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  docExpansion: "list",
  // Its default asks a server elsewhere whether the document is valid.
  validatorUrl: null,
});
